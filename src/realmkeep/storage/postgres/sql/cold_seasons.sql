SELECT season, name, began_us, ended_us FROM board_seasons WHERE board = %b ORDER BY season DESC
