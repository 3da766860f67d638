"""How near an artefact's outputs are to a reference's."""
