"""One engine for several host processes: the frames between them, and both ends."""
