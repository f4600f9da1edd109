from django.apps import AppConfig


class OidcConfig(AppConfig):
    """Where allauth finds our kind of provider (`provider.provider_classes`)."""

    name = "controlplane.people.oidc"
    label = "oidc"
