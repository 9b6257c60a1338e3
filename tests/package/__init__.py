"""The wheel as strangers install it: `make package-check`."""
