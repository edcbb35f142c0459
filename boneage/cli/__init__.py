"""The `boneage` command: one file a command, with heavy imports only inside it."""
