"""Say which build of torch pip will install, before gigabytes are downloaded, from `pip install --dry-run --report`.

    python -m pip install --dry-run --ignore-installed --quiet --report - torch==2.13.0 | python tools/torch_build.py

On Linux x86_64, the index that pip uses by default has a CUDA build, with NVIDIA's libraries as packages of their own.
"""

import json
import sys
from typing import Any

CUDA_SIZE = "about 3 GB to download, 5.5 GB on disk"
CPU_SIZE = "about 0.2 GB to download, 0.8 GB on disk"


def describe(report: dict[str, Any]) -> str:
    """One sentence on the build in pip's installation report."""
    versions = {entry["metadata"]["name"].lower(): entry["metadata"]["version"] for entry in report["install"]}
    if "torch" not in versions:
        return "torch is installed already"
    libraries = sum(name.startswith(("nvidia-", "cuda-")) for name in versions)
    if libraries:
        return (
            f"torch {versions['torch']} for CUDA, with {libraries} packages of NVIDIA's libraries: {CUDA_SIZE}; "
            '"make repro TORCH=cpu" takes the CPU build instead'
        )
    return f"torch {versions['torch']} for CPUs: {CPU_SIZE}"


if __name__ == "__main__":
    print(f"This installs {describe(json.load(sys.stdin))}.")
