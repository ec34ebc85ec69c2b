;;; Answers questions about records until its input ends: a form and a record's text come in, what the form prints goes out.
;;; Each is a line with its length in bytes, then so many bytes of UTF-8.

(defparameter *in* (sb-sys:make-fd-stream 0 :element-type '(unsigned-byte 8) :buffering :full))
(defparameter *out* (sb-sys:make-fd-stream 1 :input nil :output t :element-type '(unsigned-byte 8) :buffering :full))

(defun next-length ()
  (let ((length nil))
    (loop for byte = (read-byte *in* nil)
          while (and byte (/= byte 10))
          do (setf length (+ (* 10 (or length 0)) (- byte 48))))
    length))

(defun next-text ()
  (let ((length (next-length)))
    (when length
      (let ((bytes (make-array length :element-type '(unsigned-byte 8))))
        (assert (= length (read-sequence bytes *in*)))
        (sb-ext:octets-to-string bytes :external-format :utf-8)))))

(defun read-record (text)
  (let ((*read-eval* nil))
    (multiple-value-bind (record end) (read-from-string text)
      (assert (every (lambda (char) (member char '(#\Space #\Newline))) (subseq text end)))
      record)))

(defun answer (form text)
  (handler-case (let ((*print-base* 10) (record (read-record text)))
                  (funcall (compile nil `(lambda (record) ,(read-from-string form))) record))
    (error (condition) (format nil "ERROR ~a" condition))))

(loop for form = (next-text)
      while form
      do (let ((bytes (sb-ext:string-to-octets (answer form (next-text)) :external-format :utf-8)))
           (write-sequence (map '(vector (unsigned-byte 8)) #'char-code (format nil "~d~%" (length bytes))) *out*)
           (write-sequence bytes *out*)
           (finish-output *out*)))
