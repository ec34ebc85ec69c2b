UPDATE board_seasons SET name = %b, ended_us = %b::bigint WHERE board = %b AND name = '' RETURNING season
