"""How large an image may be."""

# What is larger fills memory before anything can be seen of it; the variable sets another
# limit, and 0 none.
MOST_PIXELS = 178_956_970
MOST_PIXELS_VARIABLE = "HRVIT_DEPLOY_MAX_PIXELS"
