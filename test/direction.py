#!/usr/bin/env python3
"""The direction between folders, and cycles between modules; `make direction`.

A file may include what is in its own folder, or in a folder that LAYERS shows above its own. main.c, which puts the program
together, and the list.c files, which name what there is, may include all. A module is a .c file with its header; modules
that include each other in a cycle cannot be read or tested alone: at most two of one folder may.

    test/direction.py        checks, and names each line that breaks the rule
    test/direction.py --map  prints for every folder how often it includes which other one
"""
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# A folder and the folders above it. A folder that is not named belongs to the nearest one that is: protocols/mqtt is a
# protocols/*, and sees no other protocols/*.
LAYERS = {
    "gateway/base": [],
    "gateway/journal": ["gateway/base"],
    "gateway/pump": ["gateway/base", "gateway/journal"],
    "gateway": ["gateway/base", "gateway/journal", "gateway/pump"],
    "gateway/commands": ["gateway/base", "gateway/journal", "gateway/pump", "gateway"],
    "protocols": [],
    "protocols/net": ["gateway/base", "gateway/journal", "gateway/pump", "gateway"],
    "protocols/*": ["gateway/base", "gateway/journal", "gateway/pump", "gateway", "protocols/net"],
    "sinks": ["gateway/base", "gateway/journal", "gateway/pump"],
    "sinks/*": ["gateway/base", "gateway/journal", "gateway/pump", "sinks"],
    "config": ["gateway/base"],
    "load": ["gateway/base", "config/units.h"],
}
EVERYTHING = ("gateway/main.c", "protocols/list.c", "sinks/list.c")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.M)


def layer(folder):
    if folder in LAYERS:
        return folder
    parent = folder.rpartition("/")[0] + "/*"
    return parent if parent in LAYERS else None


def read_includes():
    """{file: [(line number, included path)]} of every source file, paths from the root."""
    found = {}
    for top in sorted({name.split("/")[0] for name in LAYERS}):
        for path in sorted((ROOT / top).rglob("*.[ch]")):
            text = path.read_text()
            found[str(path.relative_to(ROOT))] = [
                (text.count("\n", 0, m.start()) + 1, m.group(1)) for m in INCLUDE.finditer(text)
            ]
    return found


def allowed(name, included):
    folder, other = name.rpartition("/")[0], included.rpartition("/")[0]
    if folder == other or name in EVERYTHING:
        return True
    if pathlib.Path(included).stem.endswith("_parts"):  # the inside of a module: for its own folder alone
        return False
    return other in LAYERS[layer(folder)] or included in LAYERS[layer(folder)]


def modules_of(includes):
    """{module: set of modules that it includes}"""
    graph = collections.defaultdict(set)
    for name, lines in includes.items():
        module = name[:-2]
        for _, included in lines:
            if included.endswith(".h") and included[:-2] != module:
                graph[module].add(included[:-2])
    return graph


def find_cycles(graph):
    """Strongly connected components of more than one module (Tarjan 1972), without recursion."""
    index, low, on_stack, stack, cycles = {}, {}, set(), [], []
    for root in list(graph):
        if root in index:
            continue
        work = [(root, iter(sorted(graph[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, children = work[-1]
            child = next(children, None)
            if child is not None:
                if child not in index:
                    index[child] = low[child] = len(index)
                    stack.append(child)
                    on_stack.add(child)
                    work.append((child, iter(sorted(graph.get(child, ())))))
                elif child in on_stack:
                    low[node] = min(low[node], index[child])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == index[node]:
                cycle = []
                while True:
                    member = stack.pop()
                    on_stack.discard(member)
                    cycle.append(member)
                    if member == node:
                        break
                if len(cycle) > 1:
                    cycles.append(sorted(cycle))
    return cycles


def print_map(includes):
    counts = collections.Counter()
    for name, lines in includes.items():
        for _, included in lines:
            if name.rpartition("/")[0] != included.rpartition("/")[0]:
                counts[name.rpartition("/")[0], included.rpartition("/")[0]] += 1
    for (folder, other), count in sorted(counts.items()):
        print(f"{folder:24} -> {other:24} {count:4}")


def main():
    includes = read_includes()
    if "--map" in sys.argv[1:]:
        print_map(includes)
        return 0
    bad = 0
    for name, lines in includes.items():
        if layer(name.rpartition("/")[0]) is None:
            print(f"direction: {name}: its folder is not named in LAYERS (test/direction.py)", file=sys.stderr)
            bad += 1
            continue
        for line, included in lines:
            if not allowed(name, included):
                print(f"direction: {name}:{line} may not include {included}", file=sys.stderr)
                bad += 1
    for cycle in find_cycles(modules_of(includes)):
        folders = {name.rpartition("/")[0] for name in cycle}
        if len(cycle) > 2 or len(folders) > 1:
            print(f"direction: {len(cycle)} modules include each other in a cycle: {', '.join(cycle)}", file=sys.stderr)
            bad += 1
    if bad:
        return 1
    print(f"direction: ok ({len(includes)} files)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
