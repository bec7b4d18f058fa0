"""Models on disk: the builds that manifests name, their files, downloads, verification and offline bundles."""
