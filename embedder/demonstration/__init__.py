"""The photographs and the four small decoders behind the fakes of `lineup demo`."""
