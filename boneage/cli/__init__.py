"""The `boneage` command: a file for each family of commands, with heavy imports inside them."""
