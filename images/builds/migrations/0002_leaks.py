import django.db.models.deletion
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from controlplane.lib.references import name_of


def file_them(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """By names that are known already. What stays without one is found by its owner, and filed when it is saved."""
    names, hosts = apps.get_model("access", "ImageName"), apps.get_model("hosts", "Host")
    for definition in apps.get_model("builds", "Definition").objects.all():
        tags = definition.options.get("tags") or []
        if len(tags) == 1 and "{" not in tags[0]:
            repository, tag = name_of(tags[0])
            definition.image_name = names.objects.filter(repository=repository, tag=tag).first()
        definition.host = hosts.objects.filter(pk=definition.options.get("host") or 0).first()
        definition.save(update_fields=["image_name", "host"])


class Migration(migrations.Migration):
    dependencies = [
        ("access", "0004_built_in_roles"),
        ("builds", "0001_initial"),
        ("hosts", "0002_environments"),
    ]

    operations = [
        migrations.AddField(
            model_name="definition",
            name="host",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="hosts.host",
            ),
        ),
        migrations.AddField(
            model_name="definition",
            name="image_name",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="access.imagename",
            ),
        ),
        migrations.RunPython(file_them, migrations.RunPython.noop),
    ]
