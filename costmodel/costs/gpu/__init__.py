"""What GPU runtimes launch for an Op, as amounts that take time: tiles, groups, waves."""
