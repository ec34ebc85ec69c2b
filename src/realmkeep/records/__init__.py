"""What is kept: records, their fields, codecs, migrations, validation and loading. Knows no storage."""
