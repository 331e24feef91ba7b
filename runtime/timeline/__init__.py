"""What a traced command did, as events on a line of time; and the forms in which that is shown. Cold."""
