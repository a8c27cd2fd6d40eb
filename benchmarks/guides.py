"""Pictures of the guides: runs the Python of guides with pictures, and copies these to docs/images.

python benchmarks/guides.py [GUIDE ...]
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ("anomaly-detection", "image-synthesis")


def main(guides: list[str]) -> None:
    """Runs the blocks of each guide in one session, except those that call a server."""
    for guide in guides:
        text = (ROOT / f"docs/guides/{guide}.md").read_text()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            session: dict = {}
            for block in re.findall(r"```python\n(.*?)```", text, re.S):
                if "localhost" not in block:
                    exec(block, session)
            for picture in re.findall(r"\.\./images/(.*?\.png)", text):
                shutil.copy(picture, ROOT / "docs/images" / picture)
                print(f"docs/images/{picture}")


if __name__ == "__main__":
    main(sys.argv[1:] or list(GUIDES))
