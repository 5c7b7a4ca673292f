module vestibule/tests/tools/pause

go 1.26
