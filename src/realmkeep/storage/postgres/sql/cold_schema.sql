-- The cold tier. `players` and its index are the specification's; `body` is the truth, `data` is for people and queries.
CREATE TABLE IF NOT EXISTS players (
  player_id BIGINT PRIMARY KEY,
  version INTEGER NOT NULL,
  data JSONB NOT NULL,
  updated_at TIMESTAMP DEFAULT NOW(),
  created_at TIMESTAMP DEFAULT NOW(),
  revision BIGINT NOT NULL,
  body BYTEA NOT NULL,
  ops BYTEA NOT NULL,
  digest BYTEA NOT NULL,
  data_ok BOOLEAN NOT NULL,
  deleted_at TIMESTAMP
);
CREATE INDEX IF NOT EXISTS idx_players_updated ON players(updated_at);
CREATE TABLE IF NOT EXISTS records (
  key TEXT COLLATE "C" PRIMARY KEY,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  data JSONB NOT NULL,
  updated_at TIMESTAMP DEFAULT NOW(),
  created_at TIMESTAMP DEFAULT NOW(),
  revision BIGINT NOT NULL,
  body BYTEA NOT NULL,
  ops BYTEA NOT NULL,
  digest BYTEA NOT NULL,
  data_ok BOOLEAN NOT NULL,
  deleted_at TIMESTAMP
);
CREATE INDEX IF NOT EXISTS idx_records_updated ON records(kind, updated_at);
CREATE TABLE IF NOT EXISTS letters (
  letter_id TEXT COLLATE "C" PRIMARY KEY,
  place BIGINT GENERATED ALWAYS AS IDENTITY,
  receiver TEXT COLLATE "C" NOT NULL,
  stored BYTEA,
  sent_at TIMESTAMP DEFAULT NOW(),
  opened_at TIMESTAMP
);
CREATE INDEX IF NOT EXISTS idx_letters_unopened ON letters(place) WHERE opened_at IS NULL;
CREATE INDEX IF NOT EXISTS idx_letters_receiver ON letters(receiver) WHERE opened_at IS NULL;
CREATE TABLE IF NOT EXISTS erasures (
  key TEXT COLLATE "C" PRIMARY KEY,
  erased_at TIMESTAMP NOT NULL DEFAULT NOW()
);
CREATE TABLE IF NOT EXISTS meta (
  name TEXT COLLATE "C" PRIMARY KEY,
  value BIGINT NOT NULL
);
-- `below` is the score with all bits turned, so that the best comes first in one ascending index.
CREATE TABLE IF NOT EXISTS boards (
  board TEXT COLLATE "C" NOT NULL,
  season INTEGER NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  below BIGINT NOT NULL,
  reached_us BIGINT NOT NULL,
  PRIMARY KEY (board, id, season)
);
CREATE INDEX IF NOT EXISTS idx_boards_rank ON boards(board, season, below, reached_us, id);
CREATE TABLE IF NOT EXISTS board_seasons (
  board TEXT COLLATE "C" NOT NULL,
  season INTEGER NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  began_us BIGINT,
  ended_us BIGINT,
  PRIMARY KEY (board, season)
);
CREATE UNIQUE INDEX IF NOT EXISTS idx_board_seasons_name ON board_seasons(board, name)
