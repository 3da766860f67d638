"""``python -m hrvit_deploy``."""

from hrvit_deploy.cli import main

main()
