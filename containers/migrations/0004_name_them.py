from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from controlplane.lib.references import name_of


def name_them(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """No grant is older than this, so none needs to be told."""
    names, rows = apps.get_model("access", "ImageName"), apps.get_model("containers", "Container")
    found = rows.objects.exclude(image_ref="").order_by("image_ref").values_list("image_ref", flat=True).distinct()
    for reference in found:
        repository, tag = name_of(reference)
        if repository:
            name, _ = names.objects.get_or_create(repository=repository, tag=tag[:130])
            rows.objects.filter(image_ref=reference).update(image_name=name)


class Migration(migrations.Migration):
    dependencies = [("containers", "0003_image_names")]

    operations = [migrations.RunPython(name_them, migrations.RunPython.noop)]
