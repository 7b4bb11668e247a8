"""What a study is asked for, and what it does for that: config, checks, questions, plan."""
