"""A source tree that changes from day to day, for the comparisons that need snapshots of many days."""
import os, random, shutil, subprocess


def days(corpus, tree, count, seed):
    """Makes `tree` as it is on each of so many days, one after the other, and yields the day: of the two releases in `corpus` the first half is
    the older, the second the newer one, with files edited, added and removed between each day and the next."""
    rng, files = random.Random(seed), []
    for day in range(count):
        if day in (0, count // 2):
            shutil.rmtree(tree, ignore_errors=True)
            source = os.path.realpath(os.path.join(corpus, 'tree1' if day == 0 else 'tree2'))
            subprocess.run(['cp', '-a', source, tree], check=True)
            files = files_of(tree)
        else:
            edit(tree, files, rng, day)
        yield day


def edit(tree, files, rng, day):
    """What a day does to a tree: 200 files longer, 20 gone, 20 new."""
    for path in rng.sample(files, 200):
        with open(path, 'a') as file:
            file.write(f'/* {day} */\n')
    for path in rng.sample(files, 20):
        os.remove(path)
        files.remove(path)
    for n in range(20):
        path = f'{os.path.dirname(rng.choice(files))}/new-{day}-{n}.c'
        with open(path, 'w') as file:
            file.write(f'{day} {n}\n')
        files.append(path)


def files_of(tree):
    return sorted(os.path.join(at, name) for at, _, names in os.walk(tree) for name in names if not os.path.islink(os.path.join(at, name)))
