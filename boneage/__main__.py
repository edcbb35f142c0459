"""python -m boneage is the `boneage` command."""

from boneage.cli.main import main

main()
