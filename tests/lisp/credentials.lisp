;;; The specification's own side of password hashes and sealed payloads, by ironclad: nothing of Realmkeep is used here.
;;; Reads one command a line, arguments in hexadecimal, and answers each with one line.

(require :asdf)
(let ((*standard-output* (make-broadcast-stream)) (*error-output* (make-broadcast-stream)))
  (handler-bind ((warning #'muffle-warning))
    (asdf:load-system :ironclad)))

(defun unhex (text) (ironclad:hex-string-to-byte-array text))
(defun hex (octets) (ironclad:byte-array-to-hex-string octets))
(defun octets (&rest parts) (apply #'concatenate '(vector (unsigned-byte 8)) parts))

(defun pbkdf2 (password salt)
  (ironclad:derive-key (ironclad:make-kdf 'ironclad:pbkdf2 :digest 'ironclad:sha256) password salt 100000 32))

(defun hash-password (password)
  (let ((salt (ironclad:random-data 16)))
    (format nil "~A$~A" (hex salt) (hex (pbkdf2 password salt)))))

(defun verify-password (password stored)
  (let ((dollar (position #\$ stored)))
    (ironclad:constant-time-equal (pbkdf2 password (unhex (subseq stored 0 dollar)))
                                  (unhex (subseq stored (1+ dollar))))))

(defun shared-key (private-key public-key)
  (ironclad:digest-sequence
   :sha256
   (ironclad:diffie-hellman (ironclad:make-private-key :curve25519 :x private-key :y nil)
                            (ironclad:make-public-key :curve25519 :y public-key))))

(defun gcm (key nonce &rest options)
  (apply #'ironclad:make-authenticated-encryption-mode
         :gcm :cipher-name :aes :key key :initialization-vector nonce options))

(defun encrypt-auth-payload (public-key plaintext)
  (multiple-value-bind (private-key ephemeral) (ironclad:generate-key-pair :curve25519)
    (let* ((key (shared-key (ironclad:curve25519-key-x private-key) public-key))
           (nonce (ironclad:random-data 12))
           (mode (gcm key nonce))
           (ciphertext (ironclad:encrypt-message mode plaintext)))
      (format nil "~A ~A"
              (hex (octets (ironclad:curve25519-key-y ephemeral) nonce ciphertext (ironclad:produce-tag mode)))
              (hex key)))))

(defun decrypt-auth-payload (private-key payload)
  (let ((end (- (length payload) 16)))
    (hex (ironclad:decrypt-message
          (gcm (shared-key private-key (subseq payload 0 32)) (subseq payload 32 44) :tag (subseq payload end))
          (subseq payload 44 end)))))

(defun answer (command arguments)
  (let ((first (unhex (first arguments))) (second (second arguments)))
    (cond ((string= command "hash") (hash-password first))
          ((string= command "verify") (if (verify-password first second) "yes" "no"))
          ((string= command "seal") (encrypt-auth-payload first (unhex second)))
          ((string= command "open") (handler-case (decrypt-auth-payload first (unhex second))
                                      (ironclad:bad-authentication-tag () "refused"))))))

(loop for line = (read-line *standard-input* nil)
      while line
      do (let ((words (uiop:split-string line)))
           (write-line (answer (first words) (rest words)))
           (finish-output)))
