"""Draws the loss over the steps as an SVG picture, without a plotting library.

One picture of one run; it computes nothing but a running mean.
"""

import math

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 400, 60, 45, 30, 20


def smoothed(points, window=25):
    """Each value averaged with those before it."""
    values = [value for _, value in points]
    sums = [sum(values[max(0, idx - window + 1) : idx + 1]) / min(idx + 1, window) for idx in range(len(values))]
    return [(step, value) for (step, _), value in zip(points, sums)]


def draw(training, held_out, n_steps):
    """`training` and `held_out`: (step, loss) pairs. Returns the SVG text; the loss axis is logarithmic."""
    losses = [value for _, value in training + held_out]
    low, high = math.log(min(losses) * 0.9), math.log(max(losses) * 1.05)

    def x(step):
        return LEFT + (WIDTH - LEFT - RIGHT) * step / n_steps

    def y(loss):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (math.log(loss) - low) / (high - low)

    def line(points, colour):
        path = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in points)
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'

    def text(at_x, at_y, words, anchor="middle"):
        return (
            f'<text x="{at_x:.0f}" y="{at_y:.0f}" text-anchor="{anchor}" font-family="sans-serif" font-size="12">{words}</text>'
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for loss in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 8):
        if low <= math.log(loss) <= high:
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="#ddd"/>')
            parts.append(text(LEFT - 8, y(loss) + 4, f"{loss:g}", "end"))
    for quarter in range(5):
        step = n_steps * quarter // 4
        parts.append(text(x(step), HEIGHT - BOTTOM + 18, step))
    parts.append(text((LEFT + WIDTH) / 2, HEIGHT - 8, "step"))
    parts.append(text(LEFT, TOP - 12, "cross-entropy per token: training (grey), held out (blue)", "start"))
    parts.append(line(smoothed(training), "#999"))
    if held_out:
        parts.append(line(held_out, "#1f5fbf"))
    return "\n".join([*parts, "</svg>", ""])
