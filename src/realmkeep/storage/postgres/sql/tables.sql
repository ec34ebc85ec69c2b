-- The tables as they are: unlogged ones lose everything in a crash, distributed ones lock nothing in order.
SELECT
  (SELECT relpersistence::text FROM pg_class WHERE oid = to_regclass('realmkeep_entry')) = 'u'
  OR (SELECT relpersistence::text FROM pg_class WHERE oid = to_regclass('realmkeep_list')) = 'u' AS unlogged,
  to_regclass('pg_dist_partition') IS NOT NULL AS has_citus
