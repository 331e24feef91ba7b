"""What is kept of a create, run, start or exec that failed, and what can be told of it afterwards. Cold."""
