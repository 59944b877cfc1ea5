"""Code that one step uses."""


def square(number: int) -> int:
    return number * number
