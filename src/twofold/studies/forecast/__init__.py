"""What the data let expect of joint training, before any training."""
