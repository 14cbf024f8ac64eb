"""Products of 3x3 matrices and 3-vectors as tuples, which compiled functions keep in registers."""

from gaussian_renderer.cpu.compilation import device_function


@device_function
def multiply(a, b):
    """The product of two 3x3 matrices given as tuples of rows."""
    return (
        (
            a[0][0] * b[0][0] + a[0][1] * b[1][0] + a[0][2] * b[2][0],
            a[0][0] * b[0][1] + a[0][1] * b[1][1] + a[0][2] * b[2][1],
            a[0][0] * b[0][2] + a[0][1] * b[1][2] + a[0][2] * b[2][2],
        ),
        (
            a[1][0] * b[0][0] + a[1][1] * b[1][0] + a[1][2] * b[2][0],
            a[1][0] * b[0][1] + a[1][1] * b[1][1] + a[1][2] * b[2][1],
            a[1][0] * b[0][2] + a[1][1] * b[1][2] + a[1][2] * b[2][2],
        ),
        (
            a[2][0] * b[0][0] + a[2][1] * b[1][0] + a[2][2] * b[2][0],
            a[2][0] * b[0][1] + a[2][1] * b[1][1] + a[2][2] * b[2][1],
            a[2][0] * b[0][2] + a[2][1] * b[1][2] + a[2][2] * b[2][2],
        ),
    )


@device_function
def transpose(a):
    """The transpose of a 3x3 matrix."""
    return (a[0][0], a[1][0], a[2][0]), (a[0][1], a[1][1], a[2][1]), (a[0][2], a[1][2], a[2][2])


@device_function
def dot(a, b):
    """The scalar product of two 3-vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@device_function
def scale_columns(a, s):
    """Matrix `a` with its columns multiplied by the three entries of `s`."""
    return (
        (a[0][0] * s[0], a[0][1] * s[1], a[0][2] * s[2]),
        (a[1][0] * s[0], a[1][1] * s[1], a[1][2] * s[2]),
        (a[2][0] * s[0], a[2][1] * s[1], a[2][2] * s[2]),
    )
