"""CRIU, which writes processes to files and makes them anew: its service, spoken to by criu swrk. Cold."""
