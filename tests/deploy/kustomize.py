"""Renders the overlays of docker/kubernetes where there is no kustomize, and compares its work with kustomize's where there is.

Knows what those files use, and refuses the rest: `resources`, `labels` (not into selectors), `images`, `namespace`, `configMapGenerator`
from files, and `patches` by path: merged by `name` in lists of named things, other lists replaced, `null` takes away.

    kustomize.py render OVERLAY          to standard output
    kustomize.py compare OVERLAY FILE    FILE: what kustomize made of it
"""

import hashlib
import json
import pathlib
import sys

import yaml

KNOWN = {"apiVersion", "kind", "resources", "labels", "images", "namespace", "configMapGenerator", "patches"}


def render(folder):
    """The objects of a folder with a kustomization.yaml."""
    folder = pathlib.Path(folder)
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(told) - KNOWN
    if unknown:
        raise SystemExit(f"{folder}: kustomize.py does not know {', '.join(sorted(unknown))}")
    objects = []
    for name in told.get("resources", []):
        path = folder / name
        if path.is_dir():
            objects += render(path)
        else:
            objects += [one for one in yaml.safe_load_all(path.read_text()) if one]
    for patch in told.get("patches", []):
        apply(objects, yaml.safe_load((folder / patch["path"]).read_text()), folder / patch["path"])
    made = {}
    for generator in told.get("configMapGenerator", []):
        data = {name: (folder / name).read_text() for name in generator["files"]}
        name = generator["name"] + "-" + checksum(generator["name"], data)
        made[generator["name"]] = name
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
    for one in objects:
        for label in told.get("labels", []):
            if set(label) != {"pairs"}:
                raise SystemExit(f"{folder}: kustomize.py puts labels into metadata alone")
            one["metadata"].setdefault("labels", {}).update(label["pairs"])
        if "namespace" in told:
            one["metadata"]["namespace"] = told["namespace"]
        spec = one.get("spec", {}).get("template", {}).get("spec", {})
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                volume["configMap"]["name"] = made.get(volume["configMap"]["name"], volume["configMap"]["name"])
        for container in spec.get("containers", []):
            for image in told.get("images", []):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    return objects


def apply(objects, patch, path):
    """Puts a patch on the one object of its kind and name."""
    meant = [one for one in objects if which(one) == which(patch)]
    if len(meant) != 1:
        raise SystemExit(f"{path}: {len(meant)} objects are called so")
    merge(meant[0], patch)


def merge(into, patch):
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        elif isinstance(value, list) and isinstance(into.get(key), list) and all(named(one) for one in value + into[key]):
            for one in value:
                same = [other for other in into[key] if other["name"] == one["name"]]
                if same:
                    merge(same[0], one)
                else:
                    into[key].append(one)
        else:
            into[key] = value


def named(one):
    return isinstance(one, dict) and "name" in one


def which(one):
    return one["kind"], one["metadata"]["name"]


def checksum(name, data):
    """Ten digits that change with the content, as kustomize's do. They are others."""
    return hashlib.sha256(json.dumps([name, data], sort_keys=True).encode()).hexdigest()[:10]


def comparable(objects):
    """The objects by kind and name, with what may differ made the same: sums in names, the order of named things."""
    text = json.dumps(objects)
    for one in objects:
        if one["kind"] == "ConfigMap":
            text = text.replace(one["metadata"]["name"], one["metadata"]["name"].rpartition("-")[0] + "-sum")
    return {which(one): ordered(one) for one in json.loads(text)}


def ordered(one):
    if isinstance(one, dict):
        return {key: ordered(value) for key, value in one.items()}
    if isinstance(one, list):
        inner = [ordered(value) for value in one]
        return sorted(inner, key=lambda value: value["name"]) if inner and all(named(value) for value in inner) else inner
    return one


def main():
    command, overlay = sys.argv[1:3]
    ours = render(overlay)
    if command == "render":
        yaml.safe_dump_all(ours, sys.stdout, sort_keys=False, allow_unicode=True)
        return
    theirs = comparable(list(yaml.safe_load_all(pathlib.Path(sys.argv[3]).read_text())))
    ours = comparable(ours)
    wrong = [name for name in sorted(set(ours) | set(theirs)) if ours.get(name) != theirs.get(name)]
    for name in wrong:
        print(f"{overlay}: {name} differs from kustomize's:\n{ours.get(name)}\n{theirs.get(name)}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
