"""study.svg: validation loss against FLOPs, a line an arm."""
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 960, 560
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 44, 60
# From dark to light, so that grey tells them apart too; and each has its dashes.
COLOURS = ["#1b1236", "#5b1a6e", "#a3123f", "#1f5fa8", "#d2451e", "#2a8f6d", "#c98a00", "#6fa8dc", "#8db600", "#b59fd0"]
DASHES = ["", "9 4", "2 3", "12 3 2 3", "6 2", "1 4", "14 5", "4 2 1 2", "8 2 2 2 2 2", "3 6"]


def steps(low, high, most=8):
    """Round numbers from low to high, at most so many."""
    unit = 10.0 ** -12
    while True:
        for factor in (1, 2, 5):
            step = unit * factor
            first, last = -(-low // step), high // step
            if last - first < most:
                return [round(i * step, 12) for i in range(int(first), int(last) + 1)]
        unit *= 10


def frame(study):
    """The ranges shown: FLOPs from 0, and the losses that matter. These begin a little above the highest at which a model
    was grown; before that all curves fall steeply."""
    points = [point for arm in study["arms"] for point in arm["curve"]]
    losses = [loss for _, loss in points]
    low = min(losses)
    grown = [growth["before"] for arm in study["arms"] for growth in arm["growths"]]
    high = low + 1.4 * (max(grown) - low) if grown else max(losses)
    margin = (high - low) / 30 or 0.01
    return max(flops for flops, _ in points), low - margin, high + margin


def text(x, y, content, anchor="start", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(content)}</text>\n'


def line(x1, y1, x2, y2, colour, more=""):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{more}/>\n'


def axes(most, low, high, x_of, y_of):
    """Grid, numbers and titles."""
    exponent = len(str(int(most))) - 1
    svg = ""
    for loss in steps(low, high):
        svg += line(LEFT, y_of(loss), WIDTH - RIGHT, y_of(loss), "#e0e0e0")
        svg += text(LEFT - 8, y_of(loss) + 4, f"{loss:g}", "end")
    for scaled in steps(0, most / 10**exponent):
        x = x_of(scaled * 10**exponent)
        svg += line(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 5, "#404040")
        svg += text(x, HEIGHT - BOTTOM + 20, f"{scaled:g}", "middle")
    svg += line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "#404040")
    svg += text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, f"training FLOPs since the first step, in 1e{exponent}", "middle")
    svg += text(LEFT, TOP - 16, "validation loss, nats a byte")
    return svg


def colour(index):
    return COLOURS[index % len(COLOURS)]


def mark(x, y, index):
    """Where an arm ends; when the colours begin again, it is another mark."""
    if index >= len(COLOURS):
        return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z" fill="{colour(index)}"/>\n'
    if index % 2:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour(index)}"/>\n'
    return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour(index)}"/>\n'


def legend(arms):
    """The arms by name and final loss, from the highest loss to the lowest."""
    svg, x = "", WIDTH - RIGHT + 20
    for place, (index, arm) in enumerate(sorted(arms, key=lambda item: -item[1]["loss"])):
        y = TOP + 12 + 24 * place
        svg += line(x, y - 4, x + 44, y - 4, colour(index), stroke(index))
        svg += mark(x + 44, y - 4, index)
        svg += text(x + 56, y, f"{arm['name']} {arm['loss']:.3f}")
    return svg


def stroke(index):
    dashes = DASHES[(index + 3 * (index // len(DASHES))) % len(DASHES)]
    return ' stroke-width="2"' + (f' stroke-dasharray="{dashes}"' if dashes else "")


def draw(study):
    """The whole chart."""
    most, low, high = frame(study)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(flops):
        return LEFT + width * flops / most

    def y_of(loss):
        return TOP + height * (high - loss) / (high - low)

    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="13">\n<title>Validation loss against training FLOPs</title>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n'
        f'<clipPath id="plot"><rect x="{LEFT}" y="{TOP}" width="{width + 6}" height="{height}"/></clipPath>\n'
    )
    svg += axes(most, low, high, x_of, y_of)
    measure = y_of(study["measure"]["loss"])
    svg += line(LEFT, measure, WIDTH - RIGHT, measure, "#404040", ' stroke-dasharray="1 3"')
    arms = list(enumerate(study["arms"]))
    for index, arm in arms:
        points = [(x_of(flops), y_of(loss)) for flops, loss in arm["curve"]]
        svg += f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none"'
        svg += f' stroke="{colour(index)}" clip-path="url(#plot)"{stroke(index)}/>\n'
        svg += mark(*points[-1], index)
    return svg + legend(arms) + "</svg>\n"
