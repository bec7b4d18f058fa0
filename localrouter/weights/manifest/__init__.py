"""Model manifests and lockfiles: the available builds, and the exact files of each."""
