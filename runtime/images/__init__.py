"""An image in a file, as `podman save`, `docker save` and `skopeo copy` write it, to a bundle. Cold."""
