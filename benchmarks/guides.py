"""Pictures of the guides: runs the Python of each that has some, and keeps what it drew in docs/images.

    python benchmarks/guides.py
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ("anomaly-detection",)


def main() -> None:
    """Runs the blocks of a guide in one session, without those that ask a server."""
    for guide in GUIDES:
        text = (ROOT / f"docs/guides/{guide}.md").read_text()
        blocks = re.findall(r"```python\n(.*?)```", text, re.S)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            session: dict = {}
            for block in blocks:
                if "localhost" not in block:
                    exec(block, session)
            for picture in Path(folder).glob("*.png"):
                shutil.copy(picture, ROOT / "docs/images" / picture.name)
                print(f"docs/images/{picture.name}")


if __name__ == "__main__":
    main()
