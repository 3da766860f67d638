"""What tests share: small networks, artefacts and graphs, and fakes of libraries."""
