"""The crash drill: real servers and stores are broken under a crowd, and its answers are held against what the store kept."""
