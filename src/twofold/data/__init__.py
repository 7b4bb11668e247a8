"""Reading and validating datasets. This package does not depend on models or torch."""
