"""What a build took, from BitBake's buildstats: recipes with a do_compile, tasks, and CPU seconds of each recipe.

    buildstats.py FOLDER...
"""

import collections
import pathlib
import re
import sys

seconds, compiled, tasks = collections.Counter(), set(), 0
for folder in sys.argv[1:]:
    for path in pathlib.Path(folder).glob("*/*/do_*"):
        text = path.read_text()
        recipe = path.parent.name
        tasks += 1
        if path.name == "do_compile":
            compiled.add(recipe)
        for value in re.findall(r"rusage ru_[us]time: ([\d.]+)", text):
            seconds[recipe] += float(value)
print(f"{len(compiled)} recipes compiled, {tasks} tasks, {sum(seconds.values()):.0f} CPU seconds:",
      ", ".join(f"{recipe} {used:.0f}" for recipe, used in seconds.most_common(12)))
