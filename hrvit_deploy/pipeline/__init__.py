"""The stages, each made to fit the next. Start reading in :mod:`hrvit_deploy.pipeline.run`."""
