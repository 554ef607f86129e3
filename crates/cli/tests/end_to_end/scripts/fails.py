# Before every script.
def fails(expected, call, *arguments):
    try:
        result = call(*arguments)
    except OSError as error:
        assert error.errno == expected, (call, arguments, error)
    else:
        raise AssertionError((call, arguments, result))


