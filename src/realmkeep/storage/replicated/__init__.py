"""`redis-cluster://` and `redis-sentinel://`: a primary with replicas, one of which takes its place when it fails."""
