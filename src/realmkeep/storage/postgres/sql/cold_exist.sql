SELECT to_regclass('players') IS NOT NULL AND to_regclass('records') IS NOT NULL AND to_regclass('letters') IS NOT NULL
  AND to_regclass('erasures') IS NOT NULL AND to_regclass('meta') IS NOT NULL AND to_regclass('boards') IS NOT NULL
  AND to_regclass('board_seasons') IS NOT NULL
