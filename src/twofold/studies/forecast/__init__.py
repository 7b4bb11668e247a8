"""The forecast of joint training's effect, from the data alone."""
