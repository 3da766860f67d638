"""What a service is handed: a Triton repository, or a folder that builds or runs by itself."""
