module vestibule/tests/tools/names

go 1.26
