"""Runs inside the kernel, after the last cell: what the notebook's result depended on.

The file is sent to the kernel as text, so it uses the standard library alone. It looks only at what was
imported, and imports nothing itself.
"""


def _labkit_provenance() -> str:
    """JSON: the labkit package's folder, its files imported, the data read and the libraries' versions."""
    import json
    import sys
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    # module -> distribution, for the libraries whose version can change a number
    libraries = {"datasets": "datasets", "matplotlib": "matplotlib", "numpy": "numpy", "PIL": "pillow"}
    libraries |= {"scipy": "scipy", "skimage": "scikit-image", "sklearn": "scikit-learn", "torch": "torch"}
    libraries |= {"torch_geometric": "torch-geometric", "transformers": "transformers"}
    versions = {"python": "{}.{}.{}".format(*sys.version_info)}
    for module, distribution in libraries.items():
        if module in sys.modules:
            try:
                versions[distribution] = version(distribution)
            except PackageNotFoundError:
                versions[distribution] = "unknown"

    found = {"package": None, "files": [], "data": {}, "versions": versions}
    if "labkit" in sys.modules:
        package = Path(sys.modules["labkit"].__file__).resolve().parent
        loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        files = {Path(file).resolve() for file in loaded if isinstance(file, str)}
        inside = (file.relative_to(package).as_posix() for file in files if package in file.parents)
        found["package"] = str(package)
        found["files"] = sorted(inside)
    data = sys.modules.get("labkit.data")
    if data is not None:
        found["data"] = data.loaded()
    return json.dumps(found)
