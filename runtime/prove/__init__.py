"""What a compiled program can't do, whatever the image and the container do: decided before it runs, on every path.

state.py     what is known of the process that runs it, and of its descriptors, at one point
walk.py      through the program: what each instruction changes of that, and what a branch tells
rules.py     what must hold, a row a rule
prove.py     all of it, for a program
"""
