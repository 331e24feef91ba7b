from __future__ import annotations
from harness import Container

def test_hello(container):
    assert container.sees("echo hello") == "hello"
def test_h(container):
    container.create()
    assert container.status == "created"
    assert container.start_and_wait() == 0
    assert container.status == "stopped"
    container.delete()
