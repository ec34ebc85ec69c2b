UPDATE entry SET value = :value WHERE key = :key
