from django.db import migrations, models


class Migration(migrations.Migration):
    """What an account holds everywhere is its standing; a role is what a grant gives."""

    dependencies = [("access", "0001_initial")]

    operations = [
        migrations.RenameField("user", "role", "standing"),
        migrations.RenameField("invitation", "role", "standing"),
        migrations.AlterField(
            "user",
            "standing",
            models.CharField(
                choices=[("administrator", "Administrator"), ("viewer", "Viewer"), ("member", "Member")],
                default="member",
                max_length=20,
            ),
        ),
        migrations.AlterField(
            "invitation",
            "standing",
            models.CharField(
                choices=[("administrator", "Administrator"), ("viewer", "Viewer"), ("member", "Member")],
                max_length=20,
            ),
        ),
    ]
